from peephole.cli import main

main()
