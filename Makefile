# Each target is a step of .ci/run, which says what it does.

STEPS := format vet build tidy test race fuzz bench lint

.PHONY: help ci $(STEPS)

help: ## this list
	@echo "make ci       all of the following, in this order:"
	@for step in $(STEPS); do echo "make $$step"; done
	@echo "make example  run the example application"

ci:
	@.ci/run

$(STEPS):
	@.ci/run $@

.PHONY: example
example:
	go run ./examples/gin-app
