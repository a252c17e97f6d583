// Sends a request to the deployment that is live. The pointer stands in the
// KeyValueStore under the distribution's id, so a Host decides nothing.
// Publishing stores every page where this looks, so it only appends.
import cf from 'cloudfront';

const store = cf.kvs();

function refuse(status, text) {
    return { statusCode: status, statusDescription: text, headers: { 'cache-control': { value: 'no-store' } } };
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
