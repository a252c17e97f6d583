// Sends a request to the deployment that is live. The pointer is in the
// KeyValueStore under the distribution's id, so the Host decides nothing. A custom
// domain's distribution tenant names the distribution.
//#include viewer_shared.js

async function handler(event) {
    let id = event.context.distributionId;
    let to = '';
    try {
        const given = cf.distributionTenant.parameters;
        id = given.get('site');
        to = given.get('to');
    } catch (e) {}
    let pointer = {};
    let none = null;
    try {
        const value = await store.get(id);
        pointer = JSON.parse(value);
        if (pointer.h) {
            to = await store.get(id + '/h/' + hostOf(event.request)).catch(() => '');
        }
    } catch (e) {
        none = await missing(id);
    }
    if (/[.]/.test(to)) {
        return lead(308, 'https://' + to + addressOf(event.request));
    }
    let guard = null;
    let out = null;
    try {
        const found = await protection(id, pointer.a);
        guard = found && (found.w || found.n) && found;
        out = guard && refused(event, guard);
    } catch (e) {
        return unavailable();
    }
    out = out || none;
    if (!out) {
        out = pointer.d ? await serve(event.request, id, pointer, guard && 1) : refuse(404);
    }
    if (guard && out.statusCode) {
        hide(out.headers);
    }
    return out;
}
