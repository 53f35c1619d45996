bucket = "example-tallygate-staging-tfstate"
prefix = "tallygate"
