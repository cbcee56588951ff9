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

# Redis keeps the hash only; deploy/redis.acl says what the user may do.
hash=$(printf %s "$redis" | sha256sum | cut -d ' ' -f 1)
{
    echo 'user default off'
    echo "user starmill on #$hash $(grep -v '^#' "$here/redis.acl" | tr '\n' ' ')"
} > "$folder/users.acl"

cat > "$folder/starmill.env" <<EOF
STARMILL_REDIS_URL=redis://starmill:$redis@$redis_host:6379/0
STARMILL_DATABASE_URL=postgresql://starmill:$postgres@$database_host:5432/starmill
EOF
echo "STARMILL_DASHBOARD_PASSWORD=$dashboard" > "$folder/dashboard.env"
[ -e "$folder/teacher.env" ] || echo 'OPENAI_API_KEY=' > "$folder/teacher.env"
# Read inside containers by users of their own; the folder keeps others out.
chmod 644 "$folder/users.acl" "$folder/postgres-password"
