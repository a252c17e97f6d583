// Finishes an answer. The metadata of a page's object has the page's own
// address: its path names it in a canonical link, other spellings redirect.
function handler(event) {
    const response = event.response;
    const headers = response.headers;
    headers['x-content-type-options'] = { value: 'nosniff' };
    // What CloudFront may keep is not for caches behind it.
    const cache = headers['cache-control'];
    if (cache) {
        cache.value = cache.value.replace(/,? *s-maxage=\d+/, '');
    }
    const address = headers['x-amz-meta-troy-address'];
    const asked = event.request.headers['x-troy-uri'];
    const type = headers['content-type'];
    // What pages of other origins may read.
    if (asked && decoded(asked.value).startsWith('/.well-known/') || type && /^(font\/|application\/vnd\.ms-fontobject)/.test(type.value)) {
        headers['access-control-allow-origin'] = { value: '*' };
    }
    delete headers['x-amz-meta-troy-address'];
    if (!address || !asked || decoded(asked.value) === decoded(address.value)) {
        return response;
    }
    if (asked.value.endsWith('.html')) {
        headers.link = { value: '<' + address.value + '>; rel="canonical"' };
        return response;
    }
    // A browser would show a stored redirect again if the ETag of the page made
    // its next request conditional, even after the page's address changed.
    delete headers.etag;
    delete headers['last-modified'];
    delete headers['access-control-allow-origin'];
    headers['cache-control'] = { value: 'public, max-age=0, must-revalidate' };
    response.statusCode = 301;
    response.statusDescription = 'Moved Permanently';
    headers.location = { value: address.value + query(event.request.querystring) };
    return response;
}

function decoded(path) {
    try {
        return decodeURIComponent(path);
    } catch (e) {
        return path;
    }
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
