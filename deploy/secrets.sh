#!/bin/sh
# Makes deploy/secrets/ (or the folder that is given): random passwords, and the addresses that hold them. What is
# there already stays. Compose reads the files where they lie; deploy/README.md says how Kubernetes gets them.
set -eu
umask 077
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/secrets}
redis_host=${REDIS_HOST:-redis}
database_host=${DATABASE_HOST:-postgres}
mkdir -p "$folder"

password() { # NAME: a file of 48 hexadecimal digits, which no URL and no shell reads otherwise
    [ -s "$folder/$1" ] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > "$folder/$1"
    cat "$folder/$1"
}
redis=$(password redis-password)
postgres=$(password postgres-password)
dashboard=$(password dashboard-password)
feeder=$(password feeder-password)
worker=$(password worker-password)
reader=$(password reader-password)

# Redis keeps the hash only; deploy/redis.acl says what the user may do.
hash=$(printf %s "$redis" | sha256sum | cut -d ' ' -f 1)
{
    echo 'user default off'
    echo "user starmill on #$hash $(grep -v '^#' "$here/redis.acl" | tr '\n' ' ')"
} > "$folder/users.acl"

addresses() { # ROLE PASSWORD: deploy/roles.sql says what the role may do in the ledger
    echo "STARMILL_REDIS_URL=redis://starmill:$redis@$redis_host:6379/0"
    echo "STARMILL_DATABASE_URL=postgresql://$1:$2@$database_host:5432/starmill"
}
addresses starmill "$postgres" > "$folder/starmill.env" # the owner, for commands
addresses starmill_feeder "$feeder" > "$folder/feeder.env"
addresses starmill_worker "$worker" > "$folder/worker.env"
addresses starmill_reader "$reader" > "$folder/reader.env"
cat > "$folder/role-passwords.sql" <<EOF
ALTER ROLE starmill_feeder PASSWORD '$feeder';
ALTER ROLE starmill_worker PASSWORD '$worker';
ALTER ROLE starmill_reader PASSWORD '$reader';
EOF
echo "STARMILL_DASHBOARD_PASSWORD=$dashboard" > "$folder/dashboard.env"
[ -e "$folder/teacher.env" ] || echo 'OPENAI_API_KEY=' > "$folder/teacher.env"
# Read inside containers by users of their own; the folder keeps others out.
chmod 644 "$folder/users.acl" "$folder/postgres-password" "$folder/role-passwords.sql"
