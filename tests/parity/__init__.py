"""Do the hosted and the standalone picture tool give the same? Both run against one scripted provider."""
