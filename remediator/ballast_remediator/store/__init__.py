"""What the remediator knows durably; the only place that speaks SQL."""
