// What the two viewer-request functions have in common. The pointer, the site's
// rules, in parts, and who may see the site are in the KeyValueStore. Publishing
// stores every page where this looks.
import cf from 'cloudfront';

const crypto = require('crypto');
const store = cf.kvs();

// Troy's address, which publishing puts in, and where tokens from there go.
const troy = 'https://troy.invalid';
const signIn = '/.troy/access';

const methods = 'GET, HEAD, OPTIONS';

// CloudFront's form of a header.
function field(value) {
    return { value: value };
}

function refuse(status) {
    return { statusCode: status, headers: { 'cache-control': field('no-store'), 'x-content-type-options': field('nosniff') } };
}

function lead(status, to) {
    const answer = refuse(status);
    answer.headers.location = field(to);
    return answer;
}

function unavailable() {
    const answer = refuse(503);
    answer.headers['retry-after'] = field('5');
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
    const headers = { allow: field(methods), 'x-content-type-options': field('nosniff') };
    let origin = notes.o;
    if (origin === undefined && shared(request.uri)) {
        origin = '*';
    }
    if (request.headers.origin && origin) {
        const allowed = { 'allow-origin': origin, 'allow-methods': methods, 'allow-headers': '*', 'max-age': '86400' };
        for (const name in allowed) {
            headers['access-control-' + name] = field(allowed[name]);
        }
    }
    if (notes.y) {
        headers.vary = field('Origin');
    }
    return { statusCode: 204, headers: headers };
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
        throw new Error();
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
    return encodeURIComponent(value).replace(plain, one => decodeURIComponent(one));
}

function escapedPath(value) {
    return escaped(value, /%(2[46BCF]|3[ABD]|40)/g).replace(/[!'()*]/g, one => {
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

// The path and the query.
function addressOf(request) {
    const query = queryOf(request.querystring);
    return request.uri + (query && '?' + query);
}

function hostOf(request) {
    return request.headers.host ? request.headers.host.value.toLowerCase().split(':')[0] : '';
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
        let path = rule.t.map(one => typeof one === 'number' ? values[one] || '' : one).join('');
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
            const value = op.slice(2).map(one => {
                return typeof one === 'number' ? escaped(values[one] || '', /%(2[046BCF]|3[ABD]|40)/g) : one;
            }).join('');
            notes.v[op[1]] = op[0] === 'unset' ? null : op[0] === 'join' && before ? before + ', ' + value : value;
        }
    }
    return notes;
}

// The key of a path below its tree. Where each page has one key, /about,
// /about/ and /about/index.html have that of /about.html.
function keyOf(site, uri) {
    uri = uri.replace(/\/[^.\/]+$/, '$&/');
    if (site.k) {
        uri = uri.replace(/(.)(\/|(\/index)?\.html)$/, '$1.html');
    }
    return uri.replace(/\/$/, '/index.html');
}

function send(site, request, uri, notes) {
    if (notes) {
        request.headers['x-troy-rules'] = field(JSON.stringify(notes));
    }
    // S3 takes a + of the path for a space.
    request.uri = site.tree + uri.replace(/\+/g, '%2B');
    return request;
}

// Sends another file than the path's; the visitor stays at the address.
async function rewritten(site, request, path, status, notes) {
    const key = keyOf(site, path);
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
    const uri = keyOf(site, request.uri);
    if (!(match && match.force) && (await has(site, decoded(uri).slice(1)))) {
        return send(site, request, uri, notes);
    }
    if (match && match.location) {
        const answer = lead(match.status, match.location);
        answer.headers['cache-control'] = field('public, max-age=0, must-revalidate');
        return answer;
    }
    if (match) {
        const sent = await rewritten(site, request, match.path, match.status, notes);
        return sent || await notFound(site, request, match.path, match.status === 200 ? 404 : match.status, notes);
    }
    const accept = request.headers.accept;
    if (site.spa && accept && /text\/html/i.test(accept.value) && !/\.[^\/]*$/.test(asked.path)) {
        const sent = await rewritten(site, request, '/', 200, notes);
        if (sent) {
            return sent;
        }
    }
    return await notFound(site, request, asked.path, 404, notes);
}

// The site's protection, or null if there is none. It throws if the protection
// can't be read. The first value has the sequence and the number of
// values in front, the others the sequence.
async function protection(id, marked) {
    if (!marked) {
        const there = await store.exists(id + '/a');
        if (!there) {
            return null;
        }
    }
    const first = await store.get(id + '/a');
    const head = first.split(' ', 2);
    let text = first.slice(head[0].length + head[1].length + 2);
    for (let i = 1; i < +head[1]; i++) {
        const more = await store.get(id + '/a' + i);
        if (!more.startsWith(head[0] + ' ')) {
            throw new Error();
        }
        text += more.slice(head[0].length + 1);
    }
    const guard = JSON.parse(text);
    if (guard.v !== 1) {
        throw new Error();
    }
    return guard;
}

function sign(key, parts) {
    return crypto.createHmac('sha256', key).update(parts.join('\n')).digest('base64url');
}

// Compares in a time that does not depend on where the texts differ.
function same(given, right) {
    let other = given.length ^ right.length;
    for (let i = 0; i < right.length; i++) {
        other |= given.charCodeAt(i) ^ right.charCodeAt(i);
    }
    return other === 0;
}

// The hexadecimal digits of an address, after a 4 or a 6.
function digits(ip) {
    if (ip.indexOf('.') >= 0) {
        return '4' + ip.slice(ip.lastIndexOf(':') + 1).split('.').map(one => (256 + +one).toString(16).slice(1)).join('');
    }
    const halves = ip.split('::');
    const groups = halves[0].split(':');
    const last = halves.length > 1 ? halves[1].split(':') : [];
    while (groups.length + last.length < 8) {
        groups.push('0');
    }
    return '6' + groups.concat(last).map(one => ('000' + (one || '0')).slice(-4).toLowerCase()).join('');
}

// Reports whether a network, such as '4cb0071/24', has an address.
function within(network, ip) {
    const bits = +(network.slice(network.indexOf('/') + 1));
    const whole = 1 + (bits >> 2);
    const rest = bits % 4;
    return ip.slice(0, whole) === network.slice(0, whole) &&
        (rest === 0 || (parseInt(ip[whole], 16) ^ parseInt(network[whole], 16)) >> (4 - rest) === 0);
}

// The values of a cookie. Other hosts of the domain may have set some.
function cookies(request, name) {
    const one = request.cookies && request.cookies[name];
    return one ? (one.multiValue || [one]).slice(0, 8).map(cookie => cookie.value) : [];
}

// Reports whether a token or a session is signed for the site, with the key of
// one of its passwords, and has not ended.
function valid(guard, text, kind, lifetime, more) {
    const found = /^([\w-]{12})\.(\d{10})\.([\w-]{43})$/.exec(text);
    const left = found ? +found[2] - Date.now() / 1000 : 0;
    return left > 0 && left <= lifetime + 300 && guard.w.some(one => {
        return one[0] === found[1] && same(found[3], sign(one[1], [kind, guard.h, found[1], found[2]].concat(more)));
    });
}

// Reports whether a program sent a password. Only generated ones have a digest.
function basic(guard, given) {
    const found = given && /^basic +([\w+\/=-]{1,1000})$/i.exec(given.value);
    const text = found ? Buffer.from(found[1], 'base64').toString() : '';
    const at = text.indexOf(':');
    return at >= 0 && guard.w.filter(one => {
        return one[2] && same(one[2], sign(one[1], ['basic', text.slice(at + 1)]));
    }).length > 0;
}

function cookie(value, more) {
    return { value: value, attributes: 'Path=/; Secure; HttpOnly; SameSite=Lax' + more };
}

function told(status, text) {
    const answer = refuse(status);
    answer.headers['content-type'] = field('text/plain; charset=utf-8');
    answer.body = { encoding: 'text', data: text + '\n' };
    return answer;
}

// Asks for a password. Troy's own page has the form for people. A cookie marks
// the browser, so that the token from there is of no use to another.
function ask(event, guard, to) {
    const request = event.request;
    const accept = request.headers.accept;
    if (!accept || accept.value.indexOf('text/html') < 0 || request.method === 'OPTIONS') {
        const answer = told(401, 'This site is protected. Enter the password to continue.');
        answer.headers['www-authenticate'] = field(request.headers['sec-fetch-mode'] ? 'Form' : 'Basic realm="protected site", charset="UTF-8"');
        return answer;
    }
    let mark = cookies(request, '__Host-troy_ask')[0];
    if (!/^[\w-]{43}$/.test(mark)) {
        mark = sign(guard.w[0][1], ['mark', event.context.requestId]);
    }
    const answer = lead(302, troy + '/access/' + guard.h + '?ask=' + sign('ask', [mark]) + '&to=' + encodeURIComponent(local(to)));
    answer.cookies = { '__Host-troy_ask': cookie(mark, '') };
    return answer;
}

// An address within the site, or its root for anything else.
function local(to) {
    return to.length <= 2000 && /^\/([!-.0-\[\]-~][!-~]*)?$/.test(to) ? to : '/';
}

// Returns the answer to a visitor who may not see the site yet, else null.
function refused(event, guard) {
    const request = event.request;
    if (guard.n) {
        const ip = digits(event.viewer.ip);
        if (!guard.n.some(network => within(network, ip))) {
            return told(403, 'This site is private. It can be seen only from certain networks, and your address is not in one of them.');
        }
    }
    if (!guard.w) {
        return null;
    }
    const lasts = 7 * 24 * 3600;
    const admitted = cookies(request, '__Host-troy_access').some(one => valid(guard, one, 'session', lasts, [])) ||
        basic(guard, request.headers.authorization);
    const token = request.uri === signIn && request.querystring.token;
    if (!token) {
        return admitted ? null : ask(event, guard, addressOf(request));
    }
    const to = request.querystring.to ? local(decoded(request.querystring.to.value)) : '/';
    const mark = cookies(request, '__Host-troy_ask')[0];
    const fresh = mark && valid(guard, token.value, 'token', 60, [sign('ask', [mark])]);
    if (!admitted && !fresh) {
        return ask(event, guard, to);
    }
    const answer = lead(302, to);
    if (fresh) {
        const id = token.value.slice(0, 12);
        const expiry = String(Math.floor(Date.now() / 1000) + lasts);
        const key = guard.w.filter(one => one[0] === id)[0][1];
        answer.cookies = { '__Host-troy_access': cookie(id + '.' + expiry + '.' + sign(key, ['session', guard.h, id, expiry]), '; Max-Age=' + lasts) };
    }
    return answer;
}

// Keeps an answer from shared caches, and one of a protected site from other
// origins.
function hide(headers, open) {
    const control = headers['cache-control'];
    headers['cache-control'] = field('private, ' + (!control || /no-store/.test(control.value) ? 'no-store' : 'no-cache'));
    if (!open) {
        headers.vary = field((headers.vary ? headers.vary.value + ', ' : '') + 'Cookie, Authorization');
    }
    headers['x-robots-tag'] = field('noindex');
    for (const name in headers) {
        if (!open && /^access-control-/.test(name)) {
            delete headers[name];
        }
    }
}

// Sends a request to a deployment, by its rules. The response's function learns
// from the mark what to hide.
async function serve(request, id, pointer, mark) {
    let site = {};
    const held = { id: id, tag: pointer.d.slice(-8), tree: '/sites/' + pointer.p + '/' + pointer.d, n: pointer.n, k: pointer.k, parts: {} };
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
    const asked = { path: decoded(request.uri), host: hostOf(request), query: queryOf(request.querystring), parameters: parameters(request.querystring) };
    const notes = pointer.r ? changes(site, asked, request.headers.origin) : {};
    notes.p = mark;
    if (request.method === 'OPTIONS') {
        return options(request, notes);
    }
    // For the response's function, which compares it with the page's own address.
    request.headers['x-troy-uri'] = field(request.uri);
    delete request.headers['x-troy-rules'];
    for (const segment of request.uri.split('/')) {
        const plain = segment.replace(/%2e/gi, '.');
        if (plain === '.' || plain === '..') {
            return refuse(404);
        }
    }
    return pointer.r ? await decide(site, request, asked, notes) : send(site, request, keyOf(site, request.uri), mark && notes);
}
