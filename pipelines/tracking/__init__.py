"""MLflow runs. No other room imports mlflow."""
