bucket = "example-tallygate-dev-tfstate"
prefix = "tallygate"
