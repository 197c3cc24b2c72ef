"""What results are written with: numbers, tables, sealed Parquet, drawings, rank correlation, fronts."""
