// Sends a request to the deployment that is live. The pointer stands in the
// KeyValueStore under the distribution's id, so a Host decides nothing; so do
// the site's rules, in parts. Publishing stores every page where this looks.
import cf from 'cloudfront';

const store = cf.kvs();

const methods = 'GET, HEAD, OPTIONS';

const reasons = {
    301: 'Moved Permanently', 302: 'Found', 303: 'See Other', 307: 'Temporary Redirect', 308: 'Permanent Redirect',
    404: 'Not Found', 410: 'Gone', 503: 'Service Unavailable',
};

function refuse(status) {
    const headers = { 'cache-control': { value: 'no-store' }, 'x-content-type-options': { value: 'nosniff' } };
    return { statusCode: status, statusDescription: reasons[status], headers: headers };
}

function unavailable() {
    const answer = refuse(503);
    answer.headers['retry-after'] = { value: '5' };
    return answer;
}

function decoded(text) {
    try {
        return decodeURIComponent(text);
    } catch (e) {
        return text;
    }
}

// Reports whether pages of other origins may read a path, if a file is there.
function shared(uri) {
    uri = decoded(uri);
    return uri.startsWith('/.well-known/') || /\.(woff2?|tt[cf]|otf|eot)$/i.test(uri);
}

// Answers OPTIONS, which asks what is allowed.
function options(request, notes) {
    const headers = { allow: { value: methods }, 'x-content-type-options': { value: 'nosniff' } };
    let origin = notes.o;
    if (origin === undefined && shared(request.uri)) {
        origin = '*';
    }
    if (request.headers.origin && origin) {
        headers['access-control-allow-origin'] = { value: origin };
        headers['access-control-allow-methods'] = { value: methods };
        headers['access-control-allow-headers'] = { value: '*' };
        headers['access-control-max-age'] = { value: '86400' };
    }
    if (notes.y) {
        headers.vary = { value: 'Origin' };
    }
    return { statusCode: 204, statusDescription: 'No Content', headers: headers };
}

// Tells a pointer that does not exist from a store that can't be read.
async function missing(key) {
    try {
        if (!(await store.exists(key))) {
            return refuse(404);
        }
    } catch (e) {}
    return unavailable();
}

// A part of the site's rules. Parts of another deployment are refused: the
// store's edges may be between two of them.
async function part(site, name) {
    const value = await store.get(site.id + '/' + name);
    if (!value.startsWith(site.tag)) {
        throw new Error('another deployment');
    }
    return value.slice(site.tag.length);
}

// Reports whether the tree has an object. A part holds the hashes of those
// whose hash leaves its number.
async function has(site, key) {
    if (!site.n) {
        return true;
    }
    let hash = 0x811c9dc5;
    for (let i = 0; i < key.length; i++) {
        hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
    }
    hash = hash >>> 0;
    const name = 'n' + (hash % site.n);
    try {
        if (!site.parts[name]) {
            site.parts[name] = await part(site, name);
        }
    } catch (e) {
        return true;
    }
    return site.parts[name].split(' ').indexOf(hash.toString(36)) >= 0;
}

function escaped(value, plain) {
    return encodeURIComponent(value).replace(plain, function (one) { return decodeURIComponent(one); });
}

function escapedPath(value) {
    return escaped(value, /%(24|26|2B|2C|2F|3A|3B|3D|40)/g).replace(/[!'()*]/g, function (one) {
        return '%' + one.charCodeAt(0).toString(16).toUpperCase();
    });
}

// Returns what the placeholders stand for, or null if the path does not match.
function matched(where, asked) {
    const path = asked.path;
    if (where.o && where.o !== asked.host) {
        return null;
    }
    if (where.p) {
        return path === where.p || (where.l && path === where.p + '/') ? [] : null;
    }
    const begin = where.b || '';
    if (!path.startsWith(begin)) {
        return null;
    }
    const found = new RegExp('^' + (where.x || '') + '$').exec(path.slice(begin.length));
    return found ? found.slice(1) : null;
}

// The first value of each parameter.
function parameters(members) {
    const all = {};
    for (const name in members) {
        const member = members[name];
        const value = member.multiValue ? member.multiValue[0].value : member.value;
        all[decoded(name.replace(/\+/g, ' '))] = decoded(value.replace(/\+/g, ' '));
    }
    return all;
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

// Adds the values of the query to those of the path; reports whether the
// request has the rule's parameters.
function allowed(rule, asked, values) {
    for (const one of rule.q || []) {
        const value = asked.parameters[one[0]];
        if (value === undefined || (one.length > 1 ? value !== one[1] : value === '')) {
            return false;
        }
        if (one.length === 1) {
            values.push(value);
        }
    }
    return true;
}

// The target of a redirect, or null if it would lead back or elsewhere.
function location(rule, asked, values) {
    let to = '';
    for (const one of rule.t) {
        const value = typeof one === 'number' ? values[one] || '' : '';
        if (typeof one !== 'number') {
            to += one;
        } else if (to === 'https://' || to === 'http://') {
            if (!/^[a-z0-9][a-z0-9-]{0,62}$/i.test(value)) {
                return null;
            }
            to += value;
        } else if (/[?#]/.test(to)) {
            to += escaped(value, /%20/g).replace(/ /g, '+').replace(/[!'()*]/g, escapedPath);
        } else {
            to += escapedPath(value);
        }
    }
    const hash = to.indexOf('#');
    const fragment = hash < 0 ? '' : to.slice(hash);
    to = hash < 0 ? to : to.slice(0, hash);
    const mark = to.indexOf('?');
    const query = (mark < 0 ? '' : to.slice(mark + 1)) || asked.query;
    to = mark < 0 ? to : to.slice(0, mark);
    if (to[0] === '/') {
        if (rule.t.length > 1 || typeof rule.t[0] === 'number') {
            to = to.replace(/\/\/+/g, '/');
        }
        if (decoded(to).replace(/\/$/, '') === asked.path.replace(/\/$/, '') && query === asked.query) {
            return null;
        }
    }
    return to + (query && '?' + query) + fragment;
}

function find(site, asked) {
    for (const rule of site.r || []) {
        const values = matched(rule, asked);
        if (!values || !allowed(rule, asked, values)) {
            continue;
        }
        if (rule.s >= 300 && rule.s < 400) {
            const to = location(rule, asked, values);
            return to === null ? null : { status: rule.s, force: rule.f, location: to };
        }
        let path = rule.t.map(function (one) { return typeof one === 'number' ? values[one] || '' : one; }).join('');
        if (rule.t.length > 1 || typeof rule.t[0] === 'number') {
            path = '/' + path.replace(/^\/+/, '');
        }
        return { status: rule.s, force: rule.f, path: path };
    }
    return null;
}

// What the rules change in the answer's headers, for the response's function.
function changes(site, asked, origin) {
    const notes = { v: {}, c: site.c };
    for (const rule of site.h || []) {
        const values = matched(rule, asked);
        if (!values) {
            continue;
        }
        if (rule.a) {
            notes.y = rule.a.indexOf('*') < 0;
            notes.o = !notes.y ? '*' : origin && rule.a.indexOf(origin.value) >= 0 ? origin.value : '';
        }
        for (const op of rule.v || []) {
            const before = notes.v[op[1]];
            const value = op.slice(2).map(function (one) {
                return typeof one === 'number' ? escaped(values[one] || '', /%(20|24|26|2B|2C|2F|3A|3B|3D|40)/g) : one;
            }).join('');
            notes.v[op[1]] = op[0] === 'unset' ? null : op[0] === 'join' && before ? before + ', ' + value : value;
        }
    }
    return notes;
}

// The key of a path below its tree.
function keyOf(uri) {
    const last = uri.slice(uri.lastIndexOf('/') + 1);
    return last === '' ? uri + 'index.html' : last.indexOf('.') < 0 ? uri + '/index.html' : uri;
}

function send(site, request, uri, notes) {
    if (notes) {
        request.headers['x-troy-rules'] = { value: JSON.stringify(notes) };
    }
    // S3 takes a + of the path for a space.
    request.uri = site.tree + uri.replace(/\+/g, '%2B');
    return request;
}

// Sends another file than the path's; the visitor stays at the address.
async function rewritten(site, request, path, status, notes) {
    const key = keyOf(path);
    if (!(await has(site, key.slice(1)))) {
        return null;
    }
    delete request.headers['x-troy-uri'];
    notes.s = status;
    return send(site, request, escapedPath(key), notes);
}

async function notFound(site, request, path, status, notes) {
    const pages = site.m ? ['/' + site.m] : [];
    for (let i = 0, end = path.length; i < 16 && end > 0; i++) {
        end = path.lastIndexOf('/', end - 1);
        pages.push(path.slice(0, end) + '/404.html');
    }
    for (const page of pages) {
        const sent = await rewritten(site, request, page, status, notes);
        if (sent) {
            return sent;
        }
    }
    return refuse(status);
}

async function decide(site, request, asked, notes) {
    const match = find(site, asked);
    const uri = keyOf(request.uri);
    if (!(match && match.force) && (await has(site, decoded(uri).slice(1)))) {
        return send(site, request, uri, notes);
    }
    if (match && match.location) {
        const answer = refuse(match.status);
        answer.headers['cache-control'] = { value: 'public, max-age=0, must-revalidate' };
        answer.headers.location = { value: match.location };
        return answer;
    }
    if (match) {
        const sent = await rewritten(site, request, match.path, match.status, notes);
        return sent || await notFound(site, request, match.path, match.status === 200 ? 404 : match.status, notes);
    }
    const accept = request.headers.accept;
    if (site.spa && accept && /text\/html/i.test(accept.value) && asked.path.slice(asked.path.lastIndexOf('/')).indexOf('.') < 0) {
        const sent = await rewritten(site, request, '/', 200, notes);
        if (sent) {
            return sent;
        }
    }
    return await notFound(site, request, asked.path, 404, notes);
}

async function handler(event) {
    const request = event.request;
    const id = event.context.distributionId;
    let pointer;
    try {
        const value = await store.get(id);
        pointer = JSON.parse(value);
    } catch (e) {
        return await missing(id);
    }
    if (!pointer.d) {
        return refuse(404);
    }
    let site = {};
    const held = { id: id, tag: pointer.d.slice(-8), tree: '/sites/' + pointer.p + '/' + pointer.d, n: pointer.n, parts: {} };
    try {
        let text = '';
        for (let i = 0; i < (pointer.r || 0); i++) {
            const more = await part(held, 'r' + i);
            text += more;
        }
        site = text ? JSON.parse(text) : {};
    } catch (e) {
        return unavailable();
    }
    Object.assign(site, held);
    const host = request.headers.host ? request.headers.host.value.toLowerCase().split(':')[0] : '';
    const asked = { path: decoded(request.uri), host: host, query: queryOf(request.querystring), parameters: parameters(request.querystring) };
    const notes = pointer.r ? changes(site, asked, request.headers.origin) : {};
    if (request.method === 'OPTIONS') {
        return options(request, notes);
    }
    // For the response's function, which compares it with the page's own address.
    request.headers['x-troy-uri'] = { value: request.uri };
    delete request.headers['x-troy-rules'];
    for (const segment of request.uri.split('/')) {
        const plain = segment.replace(/%2e/gi, '.');
        if (plain === '.' || plain === '..') {
            return refuse(404);
        }
    }
    return pointer.r ? await decide(site, request, asked, notes) : send(site, request, keyOf(request.uri));
}
