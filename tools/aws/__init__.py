"""What `make aws-cost` runs: one payment over a model of AWS, counted and priced."""
