bucket = "example-tallygate-prod-tfstate"
prefix = "tallygate"
