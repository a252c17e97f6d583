// Finishes an answer. The metadata of a page's object has the page's own
// address: its path names it in a canonical link, other spellings redirect. An
// object may also be a redirect of the site's rules. The request's function
// leaves in x-troy-rules what the other rules change, and what to hide: 1 is for a
// protected site, 2 for a preview that everyone may see.
function handler(event) {
    const notes = event.request.headers['x-troy-rules'] ? JSON.parse(event.request.headers['x-troy-rules'].value) : {};
    const response = finish(event.request, event.response, notes);
    if (notes.p) {
        hide(response.headers, notes.p === 2);
    }
    return response;
}

function finish(request, response, notes) {
    const headers = response.headers;
    headers['x-content-type-options'] = { value: 'nosniff' };
    // What CloudFront may keep is not for caches behind it.
    const cache = headers['cache-control'];
    if (cache) {
        cache.value = cache.value.replace(/,? *s-maxage=\d+/, '');
    }
    const address = headers['x-amz-meta-troy-address'];
    const rule = headers['x-amz-meta-troy-redirect'];
    const asked = request.headers['x-troy-uri'] && request.headers['x-troy-uri'].value;
    delete headers['x-amz-meta-troy-address'];
    delete headers['x-amz-meta-troy-redirect'];
    if (rule) {
        return ruled(response, rule.value.split(' '), asked, queryOf(request.querystring));
    }
    const type = headers['content-type'];
    // What pages of other origins may read.
    if (asked && decoded(asked).startsWith('/.well-known/') || type && /^(font\/|application\/vnd\.ms-fontobject)/.test(type.value)) {
        headers['access-control-allow-origin'] = { value: '*' };
    }
    if (address && asked && decoded(asked) !== decoded(address.value)) {
        const named = asked.endsWith('.html');
        if (!named || notes.c === 1) {
            const query = queryOf(request.querystring);
            return moved(response, 301, address.value + (query && '?' + query));
        }
        if (notes.c !== 0 || asked.endsWith('/index.html')) {
            headers.link = { value: '<' + address.value + '>; rel="canonical"' };
        }
    }
    change(response, notes);
    return response;
}

// Makes an answer independent of the object's bytes. A browser would show a
// stored redirect again if the ETag of the page made its next request
// conditional, even after the page's address changed.
function detach(response, status, text, control) {
    const headers = response.headers;
    delete headers.etag;
    delete headers['last-modified'];
    headers['cache-control'] = { value: control };
    response.statusCode = status;
    response.statusDescription = text;
}

function moved(response, status, location) {
    detach(response, status, status === 301 ? 'Moved Permanently' : 'Redirect', 'public, max-age=0, must-revalidate');
    delete response.headers['access-control-allow-origin'];
    response.headers.location = { value: location };
    return response;
}

// Answers with a redirect of the rules: status, whether a slash may follow, the
// path and the target. Other spellings of the path have the same object.
function ruled(response, rule, asked, query) {
    const path = decoded(rule[2]);
    if (!asked || decoded(asked) !== path && !(rule[1] === '1' && decoded(asked) === path + '/')) {
        detach(response, 404, 'Not Found', 'no-store');
        return response;
    }
    const hash = rule[3].indexOf('#');
    let to = hash < 0 ? rule[3] : rule[3].slice(0, hash);
    if (query && (to.indexOf('?') < 0 || to.endsWith('?'))) {
        to = to.replace('?', '') + '?' + query;
    }
    return moved(response, Number(rule[0]), to + (hash < 0 ? '' : rule[3].slice(hash)));
}

// Applies what the rules change. An error is never cached.
function change(response, notes) {
    const headers = response.headers;
    const status = notes.s || response.statusCode;
    if (status >= 400) {
        detach(response, status, status === 410 ? 'Gone' : 'Not Found', 'no-store');
    }
    if (notes.o !== undefined) {
        delete headers['access-control-allow-origin'];
        if (notes.o) {
            headers['access-control-allow-origin'] = { value: notes.o };
        }
        if (notes.y) {
            headers.vary = { value: headers.vary ? headers.vary.value + ', Origin' : 'Origin' };
        }
    }
    for (const name in notes.v) {
        const value = notes.v[name];
        if (status >= 400 && /cache-control$|^expires$|^surrogate-control$/.test(name)) {
            continue;
        }
        if (value === null && name !== 'vary' && name !== 'link') {
            delete headers[name];
        } else if ((name === 'vary' || name === 'link') && headers[name] && value !== null) {
            headers[name] = { value: headers[name].value + ', ' + value };
        } else if (value !== null) {
            headers[name] = { value: value };
        }
    }
}

// Keeps an answer from shared caches, and one of a protected site from other
// origins. Browsers ask before they show what they kept.
function hide(headers, open) {
    const control = headers['cache-control'];
    headers['cache-control'] = { value: 'private, ' + (!control || /no-store/.test(control.value) ? 'no-store' : 'no-cache') };
    if (!open) {
        headers.vary = { value: (headers.vary ? headers.vary.value + ', ' : '') + 'Cookie, Authorization' };
    }
    headers['x-robots-tag'] = { value: 'noindex' };
    for (const name in headers) {
        if (!open && /^access-control-/.test(name) || /-cache-control$|^(surrogate-control|expires|pragma)$/.test(name)) {
            delete headers[name];
        }
    }
}

function decoded(path) {
    try {
        return decodeURIComponent(path);
    } catch (e) {
        return path;
    }
}

// The query as it came: 'a=1&a=2&b', or nothing.
function queryOf(members) {
    const pairs = [];
    for (const name in members) {
        const member = members[name];
        for (const one of member.multiValue || [member]) {
            pairs.push(one.value === '' ? name : name + '=' + one.value);
        }
    }
    return pairs.join('&');
}
