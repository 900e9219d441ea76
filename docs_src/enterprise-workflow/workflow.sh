ftdemo workflow plan.yaml
