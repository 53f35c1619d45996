output "dns_records" {
  description = "DNS records that make each host work, by host; null with private exposure."
  value       = local.is_public ? module.load_balancer[0].dns_records : null
}

output "egress_addresses" {
  description = "Addresses that providers see, by region; null without egress ranges."
  value       = local.has_egress ? module.egress[0].addresses : null
}

output "name_servers" {
  description = "Name servers to delegate the zone to; null without a zone."
  value       = local.is_public ? module.load_balancer[0].name_servers : null
}

output "proxy_uris" {
  description = "The proxies' own URLs, by site and region; null with public exposure, where the hosts are the way in."
  value       = local.is_public ? null : { for key, service in module.proxy : key => service.uri }
}

output "webhook_url" {
  description = "URL to register at Stripe."
  value       = local.is_public ? "https://${var.domains.hosts[0]}${module.load_balancer[0].webhook_path}" : module.stripe_webhook.uri
}
