"""Fills a migrated PostgreSQL database with the jobs of months: what `check_ledger` finds in order, and pages can show.

A fifth of all jobs belongs to the first organization, the others have equal parts of the rest. One job in ten is
followed by a completion. The results of the jobs are not in any storage.
"""

from typing import Any

DAYS = 300
# The first organization, which is a large one, and what makes the ids of all rows.
FIRST_ORGANIZATION = "md5('organization 0')::uuid"

STATEMENTS = (
    """
    INSERT INTO accounts_organization (id, name, is_personal, verified_at, created_at)
    SELECT md5('organization ' || n)::uuid, 'Organization ' || n, false, now(), now() - interval '310 days'
    FROM generate_series(0, %(organizations)s - 1) n
    """,
    """
    INSERT INTO accounts_user (password, is_superuser, email, is_active, is_staff, date_joined)
    SELECT '!', false, 'owner-' || n || '@example.com', true, false, now() - interval '310 days'
    FROM generate_series(0, %(organizations)s - 1) n
    """,
    """
    INSERT INTO account_emailaddress (email, verified, "primary", user_id)
    SELECT email, true, true, id FROM accounts_user WHERE email LIKE 'owner-%%'
    """,
    """
    INSERT INTO accounts_membership (role, created_at, user_id, organization_id)
    SELECT 'owner', date_joined, id, md5('organization ' || substring(email FROM '[0-9]+'))::uuid
    FROM accounts_user WHERE email LIKE 'owner-%%'
    """,
    """
    INSERT INTO accounts_apikey (id, organization_id, name, prefix, sha256, created_at)
    SELECT md5('key ' || n)::uuid, md5('organization ' || n)::uuid, 'Key ' || n, 'vx_' || n,
        encode(sha256(('key ' || n)::bytea), 'hex'), now() - interval '310 days'
    FROM generate_series(0, %(organizations)s - 1) n
    """,
    """
    INSERT INTO billing_wallet (organization_id, balance_micros, held_micros, created_at, last_activity_at)
    SELECT md5('organization ' || n)::uuid, 0, 0, now() - interval '310 days', now()
    FROM generate_series(0, %(organizations)s - 1) n
    """,
    """
    INSERT INTO billing_topup (
        id, organization_id, amount_cents, bonus_cents, currency, state, is_automatic, save_card, failure,
        checkout_session_id, payment_intent_id, payment_method_id, receipt_url, invoice_url, invoice_pdf_url,
        created_at, paid_at
    )
    SELECT md5('topup ' || n)::uuid, md5('organization ' || n)::uuid, 100000, 0, 'usd', 'paid', false, false, '',
        'cs_' || n, 'pi_' || n, '', '', '', '', now() - interval '305 days', now() - interval '305 days'
    FROM generate_series(0, %(organizations)s - 1) n
    """,
    # One row for each piece of work, in the order of time. The four newest jobs of all wait in the queue.
    """
    CREATE TEMPORARY TABLE work AS
    SELECT n, kind, wallet.id AS wallet_id, wallet.organization_id,
        md5(kind || ' ' || n)::uuid AS id,
        CASE WHEN n %% 3 > 0 THEN md5('key ' || o)::uuid END AS api_key_id,
        CASE WHEN kind = 'chat' THEN 'apex' WHEN n %% 4 = 0 THEN 'premium' ELSE 'standard' END AS model,
        CASE WHEN kind = 'chat' THEN 'charged' WHEN n > %(jobs)s - 4 THEN 'queued' WHEN n %% 1000 = 1 THEN 'failed'
            WHEN n %% 500 = 2 THEN 'canceled' ELSE 'completed' END AS status,
        CASE WHEN n %% 4 = 0 AND kind = 'job' THEN 1667 ELSE 834 END AS micros,
        now() - (%(jobs)s - n + 1) * (interval '300 days' / %(jobs)s) AS created_at
    FROM (
        SELECT n, 'job' AS kind, CASE WHEN n %% 5 = 0 THEN 0 ELSE (n / 5) %% %(organizations)s END AS o
        FROM generate_series(1, %(jobs)s) n
        UNION ALL
        SELECT n, 'chat', (n / 10) %% %(organizations)s FROM generate_series(10, %(jobs)s, 10) n
    ) AS jobs JOIN billing_wallet wallet ON wallet.organization_id = md5('organization ' || o)::uuid
    """,
    "ANALYZE work",
    """
    INSERT INTO billing_entry (
        wallet_id, kind, reference, amount_micros, balance_after_micros, description, details, created_at
    )
    SELECT wallet_id, kind, reference, micros, SUM(micros) OVER (PARTITION BY wallet_id ORDER BY created_at, reference),
        description, details, created_at
    FROM (
        SELECT wallet.id AS wallet_id, 'payment' AS kind, 'topup:' || topup.id AS reference,
            topup.amount_cents::bigint * 10000 AS micros, 'Top-up' AS description, '{}'::jsonb AS details,
            topup.created_at
        FROM billing_topup topup JOIN billing_wallet wallet USING (organization_id)
        UNION ALL
        SELECT wallet_id, 'usage', kind || ':' || id, -micros,
            CASE kind WHEN 'job' THEN 'Transcription' ELSE 'Chat completion' END,
            CASE kind WHEN 'job' THEN jsonb_build_object('job_id', id, 'api_key_id', api_key_id, 'model', model,
                'duration_ms', 10000, 'channels', 1)
            ELSE jsonb_build_object('api_key_id', api_key_id, 'model', model, 'prompt_tokens', 120,
                'completion_tokens', 80) END,
            created_at + interval '20 seconds'
        FROM work WHERE status IN ('completed', 'charged')
    ) AS entries ORDER BY created_at, reference
    """,
    """
    INSERT INTO billing_hold (
        wallet_id, reference, amount_micros, state, api_key_id, month, charged_micros, created_at, closed_at
    )
    SELECT wallet_id, kind || ':' || id, micros,
        CASE WHEN status IN ('completed', 'charged') THEN 'settled' WHEN status = 'queued' THEN 'open'
            ELSE 'released' END,
        api_key_id, date_trunc('month', created_at AT TIME ZONE 'UTC')::date,
        CASE WHEN status IN ('completed', 'charged') THEN micros END, created_at,
        CASE WHEN status <> 'queued' THEN created_at + interval '20 seconds' END
    FROM work ORDER BY n, kind
    """,
    """
    INSERT INTO billing_monthlyspend (wallet_id, api_key_id, month, spent_micros)
    SELECT wallet_id, NULL, month, SUM(amount_micros) FROM billing_hold WHERE state <> 'released'
    GROUP BY wallet_id, month
    UNION ALL
    SELECT wallet_id, api_key_id, month, SUM(amount_micros) FROM billing_hold
    WHERE state <> 'released' AND api_key_id IS NOT NULL GROUP BY wallet_id, api_key_id, month
    """,
    """
    UPDATE billing_wallet wallet SET balance_micros = entries.total, held_micros = COALESCE(
        (SELECT SUM(amount_micros) FROM billing_hold hold WHERE hold.wallet_id = wallet.id AND hold.state = 'open'), 0)
    FROM (SELECT wallet_id, SUM(amount_micros) AS total FROM billing_entry GROUP BY wallet_id) AS entries
    WHERE entries.wallet_id = wallet.id
    """,
    """
    INSERT INTO billing_chargetag (entry_id, name, value, created_at)
    SELECT id, 'customer', 'customer ' || id %% 50, created_at FROM billing_entry WHERE kind = 'usage' AND id %% 10 = 0
    """,
    """
    INSERT INTO apex_completion (
        id, organization_id, api_key_id, hold_id, state, model, upstream, is_stream, prompt_tokens, completion_tokens,
        source, cost_micros, first_token_ms, latency_ms, finish, created_at, seen_at, ended_at
    )
    SELECT work.id, organization_id, work.api_key_id, hold.id, 'charged', model, 'fixture', false, 120, 80, 'upstream',
        micros, 200, 900, 'stop', work.created_at, work.created_at, hold.closed_at
    FROM work JOIN billing_hold hold ON hold.reference = 'chat:' || work.id WHERE kind = 'chat' ORDER BY n
    """,
    """
    INSERT INTO transcription_media (
        id, organization_id, name, storage_key, size_bytes, sha256, duration_ms, channels, container, codec, created_at
    )
    SELECT md5('media ' || n)::uuid, organization_id, 'call ' || n || '.wav', 'media/' || organization_id || '/' || n,
        320044, encode(sha256(n::text::bytea), 'hex'), 10000, 1, 'wav', 'pcm_s16le', created_at
    FROM work WHERE kind = 'job' ORDER BY n
    """,
    """
    INSERT INTO transcription_upload (
        id, organization_id, name, declared_bytes, declared_type, state, storage_key, media_id, error_type,
        error_message, created_at, expires_at
    )
    SELECT md5('upload ' || n)::uuid, organization_id, 'call ' || n || '.wav', 320044, 'audio/wav', 'accepted',
        'media/' || organization_id || '/' || n, md5('media ' || n)::uuid, '', '', created_at,
        created_at + interval '1 day'
    FROM work WHERE kind = 'job' AND n %% 10 = 0
    """,
    """
    INSERT INTO transcription_job (
        id, organization_id, api_key_id, dialect, model, name, options, status, priority, item_count, items_left,
        items_failed, items_unverified, progress, duration_ms, rate_micros, quoted_micros, cost_micros, error_type,
        error_message, created_at, started_at, finished_at
    )
    SELECT id, organization_id, api_key_id, 'native', model, 'call ' || n || '.wav', '{}', status, 'standard', 1,
        CASE status WHEN 'queued' THEN 1 ELSE 0 END, CASE status WHEN 'failed' THEN 1 ELSE 0 END, 0,
        CASE status WHEN 'completed' THEN 100 ELSE 0 END, 10000, CASE model WHEN 'premium' THEN 600000 ELSE 300000 END,
        micros, CASE status WHEN 'completed' THEN micros END, CASE status WHEN 'failed' THEN 'worker_lost' ELSE '' END,
        '', created_at, CASE WHEN status <> 'queued' THEN created_at END,
        CASE WHEN status <> 'queued' THEN created_at + interval '20 seconds' END
    FROM work WHERE kind = 'job' ORDER BY n
    """,
    """
    INSERT INTO transcription_jobitem (
        id, job_id, position, media_id, status, attempt, touched_at, progress, duration_ms, cost_micros, language,
        engine, result_key, error_type, error_message, finished_at
    )
    SELECT md5('item ' || n)::uuid, id, 0, md5('media ' || n)::uuid, status, 1,
        CASE status WHEN 'queued' THEN now() ELSE created_at END, CASE status WHEN 'completed' THEN 100 ELSE 0 END,
        CASE status WHEN 'completed' THEN 10000 END, CASE status WHEN 'completed' THEN micros END, 'en', 'fixture',
        CASE status WHEN 'completed'
            THEN 'results/' || organization_id || '/' || id || '/' || md5('item ' || n)::uuid || '-1-0000abcd.json'
            ELSE '' END,
        CASE status WHEN 'failed' THEN 'worker_lost' ELSE '' END, '',
        CASE WHEN status <> 'queued' THEN created_at + interval '20 seconds' END
    FROM work WHERE kind = 'job' ORDER BY n
    """,
    """
    INSERT INTO transcription_searchtext (job_id, position, number, words)
    SELECT id, 0, 0, ' call ' || n || ' wav ' FROM work WHERE kind = 'job'
    UNION ALL
    SELECT id, 0, 1, ' ' || (
        SELECT string_agg((ARRAY['invoice', 'late', 'good', 'morning', 'thursday', 'appointment', 'the', 'of', 'to',
            'and', 'call', 'refund', 'order', 'hello'])[1 + floor(random() * 14)::int], ' ')
        FROM generate_series(1, 40) WHERE id IS NOT NULL
    ) || CASE WHEN n %% 50000 = 7 THEN ' xylophone ' ELSE ' ' END
    FROM work WHERE kind = 'job' AND status = 'completed'
    """,
    """
    INSERT INTO transcription_webhookendpoint (
        id, organization_id, url, description, events, header_name, header_value, created_at, disabled_by
    )
    SELECT md5('endpoint ' || n)::uuid, md5('organization ' || n)::uuid, 'https://example.com/hook', '',
        '["job.completed"]', '', '', now() - interval '305 days', ''
    FROM generate_series(0, %(organizations)s - 1) n
    """,
    # The log is kept for a month; all of it lies in the last 25 days.
    """
    INSERT INTO transcription_delivery (
        id, organization_id, endpoint_id, job_id, event, signer, url, host, body, state, attempt, step, created_at,
        delivered_at, last_status, fault
    )
    SELECT 'msg_' || md5('delivery ' || n), organization_id, endpoint.id, work.id, 'job.completed', 'standard',
        'https://example.com/hook', 'example.com', '{}', 'delivered', 1, 1, sent_at, sent_at, 200, ''
    FROM (
        SELECT work.*, now() - (%(jobs)s - n + 1) * (interval '25 days' / %(jobs)s) AS sent_at FROM work
        WHERE kind = 'job' AND n %% 5 = 0 AND status = 'completed'
    ) AS work JOIN transcription_webhookendpoint endpoint USING (organization_id) ORDER BY n
    """,
    """
    INSERT INTO transcription_deliveryattempt (
        delivery_id, number, url, started_at, finished_at, request_headers, status, response_headers, response_body,
        fault, fault_detail
    )
    SELECT id, 1, url, created_at, created_at, '{}', 200, '{}', '', '', '' FROM transcription_delivery
    """,
    "DROP TABLE work",
)


def fill(connection: Any, *, jobs: int, organizations: int) -> None:
    """Write the rows of jobs. connection: Django's, of a migrated database without rows; PostgreSQL only.

    Runs in the caller's transaction, if there is one. Call `analyze` afterwards.
    """
    with connection.cursor() as cursor:
        for statement in STATEMENTS:
            cursor.execute(statement, {"jobs": jobs, "organizations": organizations})


def analyze(connection: Any, *, vacuum: bool) -> None:
    """Tell the planner what the tables hold. vacuum: also as index-only scans want it; not in a transaction."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if vacuum else "ANALYZE")
