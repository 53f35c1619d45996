output "jobs" {
  description = "Each job's name in Google Cloud, its schedule and its function, by its key in jobs.json."
  value = {
    for key, job in local.jobs : key => {
      name     = google_cloud_scheduler_job.main[key].name
      cron     = job.cron
      function = job.function
    }
  }
}
