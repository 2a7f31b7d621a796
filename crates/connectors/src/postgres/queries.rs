//! What is asked of the server besides the statements of rows.

/// The tables of epochs. Two sessions that make them at once would get in each other's way, so one waits for the other: by a
/// number of our own, until the end of the transaction that the statements are together.
pub(super) const SET_UP: &str = "SELECT pg_catalog.pg_advisory_xact_lock(7811887381453959269); \
    CREATE TABLE IF NOT EXISTS levada_epochs (sink text, run text, subtask int, epoch bigint NOT NULL, \
    PRIMARY KEY (sink, run, subtask)); \
    CREATE TABLE IF NOT EXISTS levada_staged (sink text, run text, subtask int, epoch bigint, part bigint, \
    rows text NOT NULL, PRIMARY KEY (sink, run, subtask, epoch, part))";

/// Takes the number of a sink's name for the session, if it is free. The table of epochs is a part of it: sinks with other
/// tables, in another schema, are no concern of this one.
pub(super) const CLAIM: &str =
    "SELECT pg_catalog.pg_try_advisory_lock($1 # 'levada_epochs'::regclass::oid::bigint)";

/// The session that has the number of a sink's name. When it began is seen by whoever may see it.
pub(super) const HOLDER: &str = "SELECT format('process %s of the server', l.pid) \
    || coalesce(', there since ' || to_char(a.backend_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '') \
    FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database()) \
    AND (l.classid::bigint << 32) | l.objid::bigint = $1 # 'levada_epochs'::regclass::oid::bigint";

/// Settings of the session that has a name: it may be idle for as long as the job runs, and what is left of it when its machine
/// has gone is noticed within 7 seconds. A server that does not know one of them does without.
pub(super) const STAY: &str = "SELECT pg_catalog.set_config(s.name, w.value, false) FROM (VALUES \
    ('idle_session_timeout', '0'), ('tcp_keepalives_idle', '3'), ('tcp_keepalives_interval', '2'), \
    ('tcp_keepalives_count', '2')) AS w (name, value) JOIN pg_catalog.pg_settings s ON s.name = w.name";

/// Notes that an epoch has become rows; no row if it has been noted.
pub(super) const NOTE: &str = "INSERT INTO levada_epochs AS noted (sink, run, subtask, epoch) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (sink, run, subtask) DO UPDATE SET epoch = EXCLUDED.epoch WHERE noted.epoch < EXCLUDED.epoch";

pub(super) const COUNT: &str = "SELECT count(*) FROM levada_staged \
    WHERE sink = $1 AND run = $2 AND subtask = $3 AND epoch = $4";

pub(super) const REMOVE: &str =
    "DELETE FROM levada_staged WHERE sink = $1 AND run = $2 AND subtask = $3 AND epoch = $4";

/// A table by its quoted name, and what the user may do to it.
pub(super) const TABLE: &str = "SELECT c.oid, has_any_column_privilege(c.oid, 'INSERT'), \
    has_any_column_privilege(c.oid, 'UPDATE') AND has_any_column_privilege(c.oid, 'SELECT') \
    FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass($1::text) \
    AND c.relkind IN ('r', 'p', 'v', 'f')";

/// A table whose name differs in case only, or that is in another schema.
pub(super) const ALIKE: &str = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE lower(c.relname) = lower($1::text) AND c.relkind IN ('r', 'p', 'v', 'f') \
    ORDER BY lower(n.nspname) = lower(coalesce($2::text, 'public')) DESC, 1 LIMIT 1";

pub(super) const COLUMNS: &str = "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), \
    a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', a.attgenerated <> '' OR a.attidentity = 'a' \
    FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

/// The columns of each index that `ON CONFLICT (..)` can name: of the whole table, on plain columns, checked at once.
pub(super) const UNIQUE: &str = "SELECT array_agg(a.attname::text ORDER BY k.place) FROM pg_catalog.pg_index i \
    CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place) \
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number \
    WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL \
    AND i.indexprs IS NULL AND k.place <= i.indnkeyatts GROUP BY i.indexrelid ORDER BY i.indexrelid";
