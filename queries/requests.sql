-- name: RequestBegin :one
-- Takes an Idempotency-Key for the transaction's request. If another
-- transaction has the key, waits until that ends. Returns no row if the key
-- was used in the last day.
INSERT INTO requests (token_id, key, digest) VALUES (@token_id, @key, @digest)
ON CONFLICT (token_id, key) DO UPDATE
SET digest = excluded.digest, subject_id = NULL, created_at = now()
WHERE requests.created_at < now() - interval '1 day'
RETURNING key;

-- name: RequestGet :one
SELECT * FROM requests WHERE token_id = @token_id AND key = @key;

-- name: RequestDone :exec
-- Records what the request created or changed.
UPDATE requests SET subject_id = @subject_id WHERE token_id = @token_id AND key = @key;

-- name: RequestsExpire :execrows
-- Deletes the oldest expired keys, a few at a time.
DELETE FROM requests WHERE ctid = ANY(ARRAY(
    SELECT r.ctid FROM requests r
    WHERE r.created_at < now() - interval '1 day'
    ORDER BY r.created_at LIMIT 500
    FOR UPDATE SKIP LOCKED));
