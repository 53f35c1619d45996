# What follows from a job's schedule: how long it may be silent.

locals {
  most_series = 10000 # Cloud Monitoring takes 30,000 of one metric: three times this, for regions and revisions

  _job_fields = { for name, job in var.jobs : name => split(" ", job.cron) }

  # Seconds from one run to the next.
  job_periods = {
    for name, fields in local._job_fields : name =>
    fields[1] != "*" ? 24 * 60 * 60 :
    startswith(fields[0], "*/") ? tonumber(trimprefix(fields[0], "*/")) * 60 :
    fields[0] == "*" ? 60 : 60 * 60
  }

  # Three runs that did not come, or one and an hour, whichever is sooner; never less than ten minutes, because a
  # line reaches its metric minutes after it was written.
  _missing_after = {
    for name, period in local.job_periods : name => max(600, min(3 * period, period + 60 * 60))
  }

  jobs = {
    for name, job in var.jobs : name => {
      name                  = name
      description           = job.description
      function              = job.function
      period_seconds        = local.job_periods[name]
      missing_after_seconds = lookup(var.missing_after_seconds, name, local._missing_after[name])
      matchers              = join(", ", compact(["job=\"${job.function}\"", can(job.body.depth) ? "depth=\"${job.body.depth}\"" : ""]))
      # A job that runs every ten minutes or oftener carries what happens now, the others what came late.
      severity = local.job_periods[name] <= 600 ? "page" : "ticket"
    }
  }
}
