// Finishes an answer. What Troy says of a page stands in the metadata of its
// object: where it redirects to, and its canonical address.
function handler(event) {
    const response = event.response;
    const headers = response.headers;
    headers['x-content-type-options'] = { value: 'nosniff' };
    // What CloudFront may keep is not for caches behind it.
    const cache = headers['cache-control'];
    if (cache) {
        cache.value = cache.value.replace(/,? *s-maxage=\d+/, '');
    }
    const location = headers['x-amz-meta-troy-location'];
    const canonical = headers['x-amz-meta-troy-canonical'];
    delete headers['x-amz-meta-troy-location'];
    delete headers['x-amz-meta-troy-canonical'];
    if (location) {
        response.statusCode = 301;
        response.statusDescription = 'Moved Permanently';
        headers.location = { value: location.value + query(event.request.querystring) };
    } else if (canonical) {
        headers.link = { value: '<' + canonical.value + '>; rel="canonical"' };
    }
    return response;
}

// The query as it came: '?a=1&a=2&b', or nothing.
function query(members) {
    const pairs = [];
    for (const name in members) {
        const member = members[name];
        for (const one of member.multiValue || [member]) {
            pairs.push(one.value === '' ? name : name + '=' + one.value);
        }
    }
    return pairs.length ? '?' + pairs.join('&') : '';
}
