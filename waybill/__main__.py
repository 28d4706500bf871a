from waybill.cli import main

main()
