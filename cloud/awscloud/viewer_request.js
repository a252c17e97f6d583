// Sends a request to the deployment that is live. The pointer stands in the
// KeyValueStore under the distribution's id, so a Host decides nothing.
// Publishing stores every page where this looks, so it only appends.
import cf from 'cloudfront';

const store = cf.kvs();

const methods = 'GET, HEAD, OPTIONS';

function refuse(status, text) {
    const headers = { 'cache-control': { value: 'no-store' }, 'x-content-type-options': { value: 'nosniff' } };
    return { statusCode: status, statusDescription: text, headers: headers };
}

// Reports whether pages of other origins may read a path, if a file is there.
function shared(uri) {
    try {
        uri = decodeURIComponent(uri);
    } catch (e) {}
    return uri.startsWith('/.well-known/') || /\.(woff2?|tt[cf]|otf|eot)$/i.test(uri);
}

// Answers OPTIONS, which asks what is allowed.
function options(request) {
    const headers = { allow: { value: methods }, 'x-content-type-options': { value: 'nosniff' } };
    if (request.headers.origin && shared(request.uri)) {
        headers['access-control-allow-origin'] = { value: '*' };
        headers['access-control-allow-methods'] = { value: methods };
        headers['access-control-allow-headers'] = { value: '*' };
        headers['access-control-max-age'] = { value: '86400' };
    }
    return { statusCode: 204, statusDescription: 'No Content', headers: headers };
}

// Tells a pointer that does not exist from a store that can't be read.
async function missing(key) {
    try {
        if (!(await store.exists(key))) {
            return refuse(404, 'Not Found');
        }
    } catch (e) {}
    const answer = refuse(503, 'Service Unavailable');
    answer.headers['retry-after'] = { value: '5' };
    return answer;
}

async function handler(event) {
    const request = event.request;
    let pointer;
    try {
        pointer = JSON.parse(await store.get(event.context.distributionId));
    } catch (e) {
        return await missing(event.context.distributionId);
    }
    if (!pointer.d) {
        return refuse(404, 'Not Found');
    }
    if (request.method === 'OPTIONS') {
        return options(request);
    }
    // For the response's function, which compares it with the page's own address.
    request.headers['x-troy-uri'] = { value: request.uri };
    const segments = request.uri.split('/').slice(1);
    for (const segment of segments) {
        const plain = segment.replace(/%2e/gi, '.');
        if (plain === '.' || plain === '..') {
            return refuse(404, 'Not Found');
        }
    }
    const last = segments[segments.length - 1];
    let uri = request.uri;
    if (last === '') {
        uri += 'index.html';
    } else if (last.indexOf('.') < 0) {
        uri += '/index.html';
    }
    // S3 takes a + of the path for a space.
    request.uri = '/sites/' + pointer.p + '/' + pointer.d + uri.replace(/\+/g, '%2B');
    return request;
}
