# Where everything is. What can't be changed later is remembered, and a change of it refused.

locals {
  labels = merge(var.labels, { app = "tallygate", environment = var.environment })

  primary_region = var.places.primary_region
  data_location  = var.places.data_location

  is_public = var.exposure.mode == "public"

  # The multi-regions have another name in each product.
  _is_multi_region  = contains(["EU", "US"], local.data_location)
  database_location = coalesce(var.places.database_location, lookup({ EU = "eur3", US = "nam5" }, local.data_location, local.data_location))
  key_location      = lookup({ EU = "europe", US = "us" }, local.data_location, local.data_location)
  log_location      = local._is_multi_region ? lower(local.data_location) : local.data_location

  immutable = {
    project_id           = var.project_id
    data_location        = local.data_location
    database_location    = local.database_location
    customer_managed_key = var.options.customer_managed_key != null
  }
}

# Without it, a change of these would be planned as destroying the ledger and making an empty one.
resource "terraform_data" "immutable" {
  input = local.immutable

  lifecycle {
    ignore_changes = [input]

    postcondition {
      condition     = self.output == local.immutable
      error_message = "project_id, data_location, database_location and customer_managed_key can't be changed: they say where the ledger is. docs/playbooks/tasks/move-data.md says how to move to another environment."
    }
  }
}

data "google_project" "main" {
  project_id = var.project_id
}
