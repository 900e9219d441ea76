git clone https://github.com/ftdemo/ftdemo
cd ftdemo
make demo
