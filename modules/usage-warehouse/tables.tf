# The sink's tables are made before the sink writes: views exist after the first apply, and numbers, partitions and
# field names are ours, not those of whichever line came first.
resource "google_bigquery_table" "raw" {
  for_each = local.raw_tables

  project                  = var.project_id
  dataset_id               = google_bigquery_dataset.raw.dataset_id
  table_id                 = each.key
  description              = each.value.description
  labels                   = local.dataset_labels
  schema                   = file("${path.module}/schemas/${each.key}.json")
  clustering               = length(each.value.clustering) > 0 ? each.value.clustering : null
  require_partition_filter = each.value.require_partition_filter
  deletion_protection      = var.deletion_protection

  # Cloud Logging adds columns of its own, such as new fields of LogEntry: they are no change of ours.
  ignore_auto_generated_schema = true

  # That covers columns, not fields within one: a field that the sink added to jsonPayload would be planned as
  # replacing the table. So a new field of ours arrives as all others do, with the first line that has it.
  lifecycle {
    ignore_changes = [schema]
  }

  time_partitioning {
    type          = each.value.partition_type
    field         = each.value.partition_field
    expiration_ms = local.raw_retention_ms
  }

  dynamic "encryption_configuration" {
    for_each = var.kms_key_name == null ? [] : [var.kms_key_name]

    content {
      kms_key_name = encryption_configuration.value
    }
  }
}

resource "google_bigquery_table" "ledger" {
  for_each = local.ledger_tables

  project                  = var.project_id
  dataset_id               = google_bigquery_dataset.ledger.dataset_id
  table_id                 = each.key
  description              = each.value.description
  labels                   = local.dataset_labels
  schema                   = file("${path.module}/schemas/${each.key}.json")
  clustering               = length(each.value.clustering) > 0 ? each.value.clustering : null
  require_partition_filter = each.value.require_partition_filter
  deletion_protection      = var.deletion_protection

  dynamic "time_partitioning" {
    for_each = each.value.partition_field == null ? [] : [each.value]

    content {
      type  = time_partitioning.value.partition_type
      field = time_partitioning.value.partition_field
    }
  }

  dynamic "encryption_configuration" {
    for_each = var.kms_key_name == null ? [] : [var.kms_key_name]

    content {
      kms_key_name = encryption_configuration.value
    }
  }
}
