variable "channels" {
  description = "Ids of the notification channels by severity: page wakes someone, ticket waits for the morning."
  type = object({
    page   = list(string)
    ticket = list(string)
  })

  validation {
    condition = alltrue([
      for id in concat(var.channels.page, var.channels.ticket) : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", id))
    ])
    error_message = "A channel is written by its id: projects/<project>/notificationChannels/<number>."
  }

  validation {
    condition     = var.environment != "prod" || (length(var.channels.page) > 0 && length(var.channels.ticket) > 0)
    error_message = "In prod someone must hear an alert: give at least one channel for page and one for ticket."
  }
}

variable "environment" {
  description = "Name of the environment, for example prod; it stands in the name of every alert."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,15}$", var.environment))
    error_message = "environment is 2 to 16 small letters, digits and dashes, for example prod."
  }
}

variable "host" {
  description = "Host at which the gateway is reached from the internet and checked every minute; null with private exposure."
  type        = string
  default     = null

  validation {
    condition     = var.host == null || can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.host))
    error_message = "host is a DNS name without scheme and path, for example api.example.com."
  }
}

variable "jobs" {
  description = "The scheduled jobs, by name, as modules/scheduler/jobs.json holds them: each gets an alert for failing and one for missing."
  type = map(object({
    description = string
    function    = string
    cron        = string
    body        = optional(map(string), {})
  }))

  validation {
    condition = alltrue([
      for job in values(var.jobs) : can(regex("^(([*]/[1-9][0-9]?|[*]|[0-9]{1,2}) [*]|[0-9]{1,2} [0-9]{1,2}) [*] [*] [*]$", job.cron))
    ])
    error_message = "A job runs every n minutes (*/5 * * * *), hourly (7 * * * *) or daily (37 3 * * *): from any other schedule no window of an alert follows."
  }

  validation {
    condition     = alltrue([for job in values(var.jobs) : contains(keys(var.names.functions), job.function)])
    error_message = "A job calls a function that names.functions does not name: add it there with its Cloud Run service."
  }
}

variable "labels" {
  description = "Labels of alerts, uptime check and objectives."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "location" {
  description = "Location of the log bucket that the tenants' panels read, for example europe-west1 or global."
  type        = string
}

variable "log_bucket" {
  description = "Id of that log bucket; it must have log analytics on."
  type        = string
  default     = "tallygate"
  nullable    = false
}

variable "missing_after_seconds" {
  description = "By job: how long no run may have finished before someone is told, where three runs, or one and an hour, is not right."
  type        = map(number)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for job in keys(var.missing_after_seconds) : contains(keys(var.jobs), job)])
    error_message = "missing_after_seconds names a job that jobs does not have."
  }

  validation {
    condition = alltrue([
      for job, seconds in var.missing_after_seconds : try(seconds >= local.job_periods[job] + 300, true)
    ])
    error_message = "The window of an alert must be longer than the job's schedule: give at least its period and 300 s, the time that a run and its log line may take."
  }
}

variable "models" {
  description = "Names of the models in the catalogue: the values that the metrics' label model may have."
  type        = set(string)

  validation {
    condition     = length(var.models) > 0 && alltrue([for name in var.models : can(regex("^[a-z0-9][a-z0-9._:/-]{0,63}$", name))])
    error_message = "models are the names in catalogue.json, at least one."
  }
}

variable "names" {
  description = "Names of what is watched: the proxy's service (a tenant's own has it as a prefix), the services of the functions, the ledger's dataset."
  type = object({
    service        = optional(string, "tallygate-proxy")
    ledger_dataset = optional(string, "ledger")
    functions = optional(map(string), {
      stripe_sync      = "tallygate-stripe-sync"
      stripe_webhook   = "tallygate-stripe-webhook"
      usage_reconciler = "tallygate-usage-reconciler"
      usage_reporter   = "tallygate-usage-reporter"
    })
  })
  default  = {}
  nullable = false
}

variable "objectives" {
  description = "What is promised: the share of requests that the gateway does not fail, the latency that it adds at p95, and how fresh billing is."
  type = object({
    availability        = optional(number, 0.999)
    added_latency_ms    = optional(number, 50)
    freshness           = optional(number, 0.99)
    freshness_seconds   = optional(number, 900)
    period_days         = optional(number, 28)
    minimum_of_requests = optional(number, 100)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.objectives.added_latency_ms >= 1 && var.objectives.freshness_seconds >= 300
    error_message = "added_latency_ms is at least 1, freshness_seconds at least 300: usage is sent every five minutes."
  }

  validation {
    condition     = alltrue([for goal in [var.objectives.availability, var.objectives.freshness] : goal >= 0.9 && goal <= 0.9999])
    error_message = "An objective is a share between 0.9 and 0.9999: at 1 every failure is an alert, below 0.9 none is."
  }

  validation {
    condition     = var.objectives.period_days >= 7 && var.objectives.period_days <= 30
    error_message = "period_days is between 7 and 30: Cloud Monitoring takes no longer period."
  }

  validation {
    condition     = var.objectives.minimum_of_requests >= 10
    error_message = "minimum_of_requests must be at least 10: below it one failure of a quiet night wakes someone."
  }
}

variable "playbooks_url" {
  description = "Where docs/playbooks/alerts/ of this repository is read, for the links in alerts; null for its path."
  type        = string
  default     = null

  validation {
    condition     = var.playbooks_url == null || can(regex("^https://[^ ]+[^/]$", var.playbooks_url))
    error_message = "playbooks_url starts with https:// and ends without a slash."
  }
}

variable "project_id" {
  description = "Project whose logs are measured and in which the alerts stand."
  type        = string
}
