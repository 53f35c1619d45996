# What is promised, and from when on a breach is told. Every number follows from the objectives.

locals {
  freshness_seconds = var.objectives.freshness_seconds
}
