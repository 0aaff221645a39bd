import { engine } from "../../torture/engines/etcd.ts"
import { torture } from "../tortures.ts"

torture(engine)
