"""MLflow runs. No other package imports mlflow."""
