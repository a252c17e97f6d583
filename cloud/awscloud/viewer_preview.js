// Sends a request to the deployment that a preview shows. One distribution serves
// the previews of all sites. The first part of the host names the preview, and
// its pointer the site's own distribution, under which the protection is.
//#include viewer_shared.js

async function handler(event) {
    const host = hostOf(event.request);
    const id = 'p/' + host.split('.')[0];
    let pointer = {};
    let guard = null;
    let out = null;
    try {
        const value = await store.get(id);
        pointer = JSON.parse(value);
    } catch (e) {
        out = await missing(id);
    }
    try {
        guard = out ? null : await guardOf(pointer.i, host);
        out = guard ? refused(event, guard) : out;
    } catch (e) {
        out = unavailable();
    }
    if (!out) {
        out = await serve(event.request, id, pointer, guard ? 1 : 2);
    }
    if (out.statusCode) {
        hide(out.headers, !guard);
    }
    return out;
}

// What protects the previews of a site, or null if everyone may see them. The
// site's own pointer has the mark of the protection, if it exists. Sessions are
// bound to the preview's host.
async function guardOf(id, host) {
    if (!id) {
        throw new Error();
    }
    const there = await store.exists(id);
    const own = there ? await store.get(id) : '{}';
    const guard = await protection(id, JSON.parse(own).a);
    if (!guard) {
        return null;
    }
    guard.w = guard.w || guard.pw;
    guard.n = guard.n || guard.pn;
    guard.h = host;
    return guard.w || guard.n ? guard : null;
}
