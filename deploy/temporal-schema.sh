#!/bin/sh
# Creates Temporal's databases where they are missing and updates their schema; temporal-sql-tool reads SQL_* variables.
set -eu

schemas=/etc/temporal/schema/postgresql/v12
for pair in temporal:temporal temporal_visibility:visibility; do
  database=${pair%%:*}
  folder=${pair##*:}
  temporal-sql-tool --db "$database" create
  temporal-sql-tool --db "$database" setup-schema -v 0.0
  temporal-sql-tool --db "$database" update-schema -d "$schemas/$folder/versioned"
done
