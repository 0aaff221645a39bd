import { engine } from "../../torture/engines/zookeeper.ts"
import { torture } from "../tortures.ts"

torture(engine)
