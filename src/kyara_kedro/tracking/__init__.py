"""MLflow: runs that outlive its outages, and the registry of models."""
