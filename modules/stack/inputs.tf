# What the rules in variables.tf compare inputs with. Nothing else is needed to say what is wrong with an input: bad
# inputs are tested on a copy of these two files, because planning the whole stack takes ten times as long.

locals {
  profiles        = jsondecode(file("${path.module}/../proxy-service/profiles.json"))
  database_places = jsondecode(file("${path.module}/../app-database/places.json"))

  largest_rpm = max([for plan in values(try(jsondecode(var.plans).plans, {})) : try(plan.quotas.rpm, 0)]...)
}
