# What the four functions share: who builds them from the source archive, where their images go, what they read.

resource "google_service_account" "build" {
  project      = var.project_id
  account_id   = "tallygate-build"
  display_name = "Tallygate build"
  description  = "Builds the functions from their source archive; it can't write logs, and so can't forge usage lines."
}

resource "google_project_iam_member" "build_source" {
  project = var.project_id
  role    = "roles/storage.objectViewer"
  member  = google_service_account.build.member

  condition {
    title       = "the functions' archives"
    description = "No other bucket of the project."
    expression  = "resource.name.startsWith(\"projects/_/buckets/${var.artifacts.functions_bucket}/objects/\")"
  }
}

resource "google_artifact_registry_repository" "functions" {
  project                = var.project_id
  location               = local.primary_region
  repository_id          = "tallygate-functions"
  description            = "Images that Google builds of the functions."
  format                 = "DOCKER"
  mode                   = "STANDARD_REPOSITORY"
  labels                 = local.labels
  cleanup_policy_dry_run = false

  cleanup_policies {
    id     = "keep-the-last-ten"
    action = "KEEP"

    most_recent_versions {
      keep_count = 10
    }
  }

  cleanup_policies {
    id     = "delete-what-is-older-than-a-month"
    action = "DELETE"

    condition {
      tag_state  = "ANY"
      older_than = "2592000s"
    }
  }
}

resource "google_artifact_registry_repository_iam_member" "build" {
  project    = var.project_id
  location   = google_artifact_registry_repository.functions.location
  repository = google_artifact_registry_repository.functions.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.build.member
}

locals {
  functions_archive = merge(var.functions_archive, { bucket = var.artifacts.functions_bucket })

  functions_build = {
    repository      = "${local.primary_region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.functions.repository_id}"
    service_account = google_service_account.build.id
  }

  functions_configuration = {
    bucket = module.configuration.bucket
    sha256 = module.configuration.sha256
  }

  # All four are told: who sends, and who would compare or wait for what is sent to Stripe.
  _functions_environment = merge(
    {
      TALLYGATE_APP_DATABASE = module.app_database.setting
      TALLYGATE_LIVEMODE     = tostring(var.livemode)
      TALLYGATE_PROJECT_ID   = var.project_id
      TALLYGATE_SECRETS      = "google"
    },
    var.options.cloudevents == null ? {} : { TALLYGATE_CLOUDEVENTS_URL = var.options.cloudevents.url }
  )

  metering_environment = merge(local._functions_environment, {
    TALLYGATE_DATASET_LEDGER        = module.usage_warehouse.datasets.ledger
    TALLYGATE_DATASET_RAW           = module.usage_warehouse.datasets.raw
    TALLYGATE_INVOICE_HOLD_HOURS    = tostring(var.invoicing.draft_hold_hours)
    TALLYGATE_ONE_OFF_AFTER_HOURS   = tostring(var.invoicing.one_off_after_hours)
    TALLYGATE_ONE_OFF_MINIMUM_CENTS = tostring(var.invoicing.one_off_minimum_cents)
  })

  # The reporter gives prices to usage that had none.
  reporting_environment = merge(local.metering_environment, {
    TALLYGATE_CATALOGUE = "${local.configuration_mount}/${local.catalogue_file}"
  })

  subscription_environment = merge(local._functions_environment, {
    TALLYGATE_CATALOGUE          = "${local.configuration_mount}/${local.catalogue_file}"
    TALLYGATE_DATASET_LEDGER     = module.usage_warehouse.datasets.ledger
    TALLYGATE_DATASET_RAW        = module.usage_warehouse.datasets.raw
    TALLYGATE_GRACE_DAYS         = tostring(var.invoicing.unpaid_grace_days)
    TALLYGATE_INVOICE_HOLD_HOURS = tostring(var.invoicing.draft_hold_hours)
    TALLYGATE_PLANS              = "${local.configuration_mount}/${local.plans_file}"
  })

  # Jobs run one at a time; those that wait are refused by the lease.
  job_resources = { cpu = "1", memory = "512Mi", concurrency = 1, max_instances = 3 }
}
