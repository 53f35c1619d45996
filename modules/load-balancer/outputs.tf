output "address" {
  description = "The gateway's address."
  value       = google_compute_global_address.main.address
}

output "dns_records" {
  description = "DNS records that make a host work, by host: its address, and the proof that a certificate may be issued."
  value = {
    for host in local.hosts : host => {
      address       = { name = "${host}.", type = "A", data = google_compute_global_address.main.address }
      authorization = google_certificate_manager_dns_authorization.host[host].dns_resource_record[0]
    }
  }
}

output "name_servers" {
  description = "Name servers to delegate the zone to; null without a zone."
  value       = var.dns_zone == null ? null : google_dns_managed_zone.main["main"].name_servers
}

output "proxy_paths" {
  description = "Paths that reach the proxies."
  value       = local.proxy_paths
}

output "webhook_path" {
  description = "Path of Stripe's webhook on the hosts of the shared site."
  value       = local.webhook_path
}
