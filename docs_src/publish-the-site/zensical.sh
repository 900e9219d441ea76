ftdemo site build --with zensical
