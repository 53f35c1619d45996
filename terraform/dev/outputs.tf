output "gateway" {
  description = "What an operator needs after an apply: DNS records, name servers, URLs, and the webhook's URL for Stripe."
  value       = module.stack
}
