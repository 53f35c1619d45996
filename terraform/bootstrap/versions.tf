terraform {
  required_version = "~> 1.11"

  # The bucket is made here: the first apply keeps its state beside it, and moves it afterwards
  # (docs/playbooks/tasks/first-apply.md).
  backend "gcs" {}

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 8.0"
    }
  }
}
