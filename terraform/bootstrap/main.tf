# What must be there before an environment can be applied by the pipeline: applied once per environment's project, by a
# person. Everything after it is the pipeline's.

provider "google" {
  project = var.project_id
}

locals {
  labels = { app = "tallygate", environment = var.environment }
}

data "google_project" "main" {
  project_id = var.project_id
}
