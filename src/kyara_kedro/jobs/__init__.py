"""Job files for engines that run the pipelines on a cluster: SLURM, Kubernetes and Airflow."""
