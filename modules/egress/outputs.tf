output "addresses" {
  description = "The address that providers see, by region."
  value       = { for region, address in google_compute_address.region : region => address.address }
}

output "networks" {
  description = "Network and subnetwork of each region, as a Cloud Run service names them; known when the NAT works."
  value = {
    for region in keys(var.subnetworks) : region => {
      network    = google_compute_network.main.name
      subnetwork = google_compute_subnetwork.region[region].name
    }
  }

  depends_on = [google_compute_router_nat.region]
}
