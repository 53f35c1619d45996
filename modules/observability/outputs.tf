output "metrics" {
  description = "The log-based metrics: by name, how many time series each can have at most."
  value       = { for name, series in local.metric_series : "tallygate_${name}" => series }
}

output "job_periods" {
  description = "Seconds from one run of each job to the next, as its schedule says."
  value       = local.job_periods
}
