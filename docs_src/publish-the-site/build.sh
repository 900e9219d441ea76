export FTDEMO_SITE_URL=https://you.example/        # where it will live
export FTDEMO_DEMOS_URL=https://you.example/demos/{name}/   # where its demos run
make site
