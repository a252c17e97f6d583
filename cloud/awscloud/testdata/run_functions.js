// Runs CloudFront functions. The input is a list of runs, as awsdouble.Run; the
// output is the list of their results.
async function main() {
    let text = '';
    for await (const more of process.stdin.setEncoding('utf8')) {
        text += more;
    }
    const results = [];
    for (const run of JSON.parse(text)) {
        const store = {
            get: async function (key) {
                if (!(key in run.values)) {
                    throw new Error('KeyNotFound');
                }
                return run.values[key];
            },
            exists: async function (key) { return key in run.values; },
        };
        const cloudfront = { kvs: function () { return store; } };
        if (run.tenant) {
            cloudfront.distributionTenant = { parameters: { get: function (name) { return run.tenant[name]; } } };
        }
        const handler = new Function('cloudfront', 'require', run.code + '\nreturn handler;')(cloudfront, require);
        Date.now = function () { return run.now; };
        results.push(await handler(run.event));
    }
    process.stdout.write(JSON.stringify(results));
}

main();
