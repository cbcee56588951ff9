-- What each part of Starmill may do in the ledger: the feeder, workers, and who only reads (run page, KEDA). The owner of
-- the tables plans, deletes and upgrades (`starmill run`, `runs delete`, `ledger`), and runs this file after each upgrade:
--   psql -v ON_ERROR_STOP=1 -f deploy/roles.sql "$STARMILL_DATABASE_URL"
-- Passwords are set apart: deploy/secrets.sh makes them. The roles are those of a whole server.
BEGIN;
DO $$
DECLARE
  part text;
BEGIN
  FOREACH part IN ARRAY ARRAY['starmill_feeder', 'starmill_worker', 'starmill_reader'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = part) THEN
      EXECUTE format('CREATE ROLE %I LOGIN', part);
    END IF;
  END LOOP;
END $$;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM starmill_feeder, starmill_worker, starmill_reader;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM starmill_feeder, starmill_worker, starmill_reader;
GRANT USAGE ON SCHEMA public TO starmill_feeder, starmill_worker, starmill_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO starmill_feeder, starmill_worker, starmill_reader;

-- Both do units: neither makes or deletes a run, its rows or its units, and neither changes what a run asks.
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO starmill_feeder, starmill_worker;
GRANT UPDATE ON unit TO starmill_feeder, starmill_worker;
GRANT INSERT, UPDATE, DELETE ON lease, generation, batch, engine, unit_count, spending TO starmill_feeder, starmill_worker;
GRANT INSERT ON rejection TO starmill_feeder, starmill_worker;
GRANT UPDATE (state, message, charged_nano_usd, unanswered_nano_usd) ON run TO starmill_feeder, starmill_worker;
GRANT UPDATE (started_at, finished_at, barrier_open, feeder, feeder_until) ON run TO starmill_feeder;
COMMIT;
