# Optional: someone is told when Google's own bill grows past what was meant.

resource "google_billing_budget" "main" {
  count = var.options.budget == null ? 0 : 1

  billing_account = var.options.budget.billing_account
  display_name    = "Tallygate ${var.environment}"

  budget_filter {
    projects               = ["projects/${data.google_project.main.number}"]
    calendar_period        = "MONTH"
    credit_types_treatment = "INCLUDE_ALL_CREDITS"
  }

  amount {
    specified_amount {
      currency_code = "USD"
      units         = tostring(var.options.budget.monthly_usd)
    }
  }

  threshold_rules {
    threshold_percent = 0.8
    spend_basis       = "CURRENT_SPEND"
  }

  threshold_rules {
    threshold_percent = 1
    spend_basis       = "CURRENT_SPEND"
  }

  threshold_rules {
    threshold_percent = 1.2
    spend_basis       = "FORECASTED_SPEND"
  }

  all_updates_rule {
    monitoring_notification_channels = slice(local.notification_channels.ticket, 0, min(5, length(local.notification_channels.ticket)))
    disable_default_iam_recipients   = false
  }
}
